import { WalkOfApp } from '../lib/walk';

export const metadata = { title: 'A Next.js app behind Coppice' };

export default function Layout({ children }) {
  return (
    <html lang="en">
      <body>
        <WalkOfApp />
        {children}
      </body>
    </html>
  );
}
